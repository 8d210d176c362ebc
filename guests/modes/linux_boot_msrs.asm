; The Linux convention: what a kernel finds in the FPU and in the MSRs that the monitor has set. CR4.OSFXSR is set.

        bits    64

IA32_TSC                equ     0x10
IA32_SYSENTER_CS        equ     0x174
IA32_SYSENTER_ESP       equ     0x175
IA32_SYSENTER_EIP       equ     0x176
IA32_MISC_ENABLE        equ     0x1a0
STAR                    equ     0xc0000081
LSTAR                   equ     0xc0000082
CSTAR                   equ     0xc0000083
SYSCALL_MASK            equ     0xc0000084
KERNEL_GS_BASE          equ     0xc0000102

%macro  read 1
        mov     ecx, %1
        rdmsr
        shl     rdx, 32
        or      rax, rdx
%endmacro

_start:
        sub     rsp, 16
        fnstcw  [rsp]
        movzx   r8, word [rsp]
        stmxcsr [rsp]
        mov     r9d, [rsp]
        xor     ebx, ebx                ; all that must be zero, together
%macro  gather 1-*
%rep %0
        read    %1
        or      rbx, rax
%rotate 1
%endrep
%endmacro
        gather  IA32_SYSENTER_CS, IA32_SYSENTER_ESP, IA32_SYSENTER_EIP
        gather  STAR, LSTAR, CSTAR, SYSCALL_MASK, KERNEL_GS_BASE
        read    IA32_MISC_ENABLE
        mov     r10, rax
        read    IA32_TSC
        mov     r11, rax
        hlt
