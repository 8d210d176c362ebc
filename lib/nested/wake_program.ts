import { STATIC_ELF_HEADER } from "./static_elf_header.ts";

/**
 * NASM source of a static program that a resumed machine runs first: `wake SECONDS NANOSECONDS < seed` sets the wall clock, mixes 64
 * bytes of seed into the kernel's random pool and makes its generator use them at once. Without it every resume of one
 * snapshot would have the same time and draw the same random numbers. Assembled with `nasm -f bin` it is a whole ELF file.
 */
export const WAKE_PROGRAM: string = `
%define SYS_READ 0
%define SYS_OPEN 2
%define SYS_IOCTL 16
%define SYS_EXIT 60
%define SYS_CLOCK_SETTIME 227
%define RNDADDENTROPY 0x40085203
%define RNDRESEEDCRNG 0x5207
%define SEED_SIZE 64

${STATIC_ELF_HEADER}
; rsi -> decimal digits; the number comes back in rax
decimal:
    xor eax, eax
.next:
    movzx ecx, byte [rsi]
    sub ecx, '0'
    jb .end
    imul rax, rax, 10
    add rax, rcx
    inc rsi
    jmp .next
.end:
    ret

start:
    mov rsi, [rsp + 16]
    call decimal
    mov [time], rax
    mov rsi, [rsp + 24]
    call decimal
    mov [time + 8], rax
    mov eax, SYS_CLOCK_SETTIME
    xor edi, edi                ; CLOCK_REALTIME
    mov esi, time
    syscall
    mov ebx, eax                ; any error makes the exit code

    mov eax, SYS_READ
    xor edi, edi
    mov esi, seed
    mov edx, SEED_SIZE
    syscall

    mov eax, SYS_OPEN
    mov edi, urandom
    mov esi, 1                  ; O_WRONLY
    syscall
    mov edi, eax

    mov eax, SYS_IOCTL
    mov esi, RNDADDENTROPY
    mov edx, pool
    syscall
    or ebx, eax

    mov eax, SYS_IOCTL
    mov esi, RNDRESEEDCRNG
    xor edx, edx
    syscall
    or ebx, eax

    mov eax, SYS_EXIT
    mov edi, ebx
    and edi, 1
    syscall

urandom: db "/dev/urandom", 0
align 8
pool:                           ; struct rand_pool_info
    dd SEED_SIZE * 8, SEED_SIZE
file_end:
absolute $
seed: resb SEED_SIZE
time: resq 2
memory_end:
`;
