import HugeMemory

func fork(_ options: Options) throws(MemoryError) -> Report { Report(.fork) }
