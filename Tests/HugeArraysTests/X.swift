import HugeArrays
