import HugeMemory

func io(_ options: Options) throws(MemoryError) -> Report { Report(.io) }
