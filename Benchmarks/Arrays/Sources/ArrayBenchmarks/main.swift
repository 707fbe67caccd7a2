import Glibc
access(megabytes: 256, rounds: 7)
