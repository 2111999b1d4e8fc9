// In place of the system's: it always lets a process use AMX, which is all that products.cpp asks it.
#include <unistd.h>  // first, as it declares the real one

#define SYS_arch_prctl 0
#define syscall(...) 0
