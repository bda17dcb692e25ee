/* Lets User Mode Linux run on processors with AMX: LD_PRELOAD for linux.uml.
 *
 * Before 6.13 it keeps a process's extended registers in a buffer of a fixed size. The host takes registers back only
 * whole, and those of AMX make them larger: "ptrace set fp regs failed". Here the rest is filled in as it is; a process
 * that has not asked for AMX has nothing in it. */
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static long set_registers(pid_t pid, const struct iovec *given) {
    static char whole[1 << 16] __attribute__((aligned(64)));
    struct iovec all = {whole, sizeof whole};
    long failed = syscall(SYS_ptrace, PTRACE_GETREGSET, pid, NT_X86_XSTATE, &all);
    if (failed)
        return failed;
    memcpy(whole, given->iov_base, given->iov_len < all.iov_len ? given->iov_len : all.iov_len);
    return syscall(SYS_ptrace, PTRACE_SETREGSET, pid, NT_X86_XSTATE, &all);
}

long ptrace(enum __ptrace_request request, ...) {
    va_list rest;
    va_start(rest, request);
    pid_t pid = va_arg(rest, pid_t);
    void *address = va_arg(rest, void *), *data = va_arg(rest, void *);
    va_end(rest);
    if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE)
        return set_registers(pid, data);
    if (request != PTRACE_PEEKTEXT && request != PTRACE_PEEKDATA && request != PTRACE_PEEKUSER)
        return syscall(SYS_ptrace, request, pid, address, data);
    long word; /* the kernel stores what libc's ptrace returns */
    long failed = syscall(SYS_ptrace, request, pid, address, &word);
    return failed ? failed : word;
}
