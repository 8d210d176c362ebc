; A hypervisor for SVM that knows no guest of its own: whoever boots it puts a VMCB, its maps, its nested page
; tables and the guest into memory. It runs that guest, writes each exit code to a port, and answers what it
; can: an IN with 0x5a, an RDMSR with 0x1122334455667788; it goes on behind those, behind OUT and WRMSR, CPUID
; and VMMCALL. Any other exit is its last: it halts.
;
; RDI: the VMCB. RSI: two pages, for VM_HSAVE_PA and for what VMSAVE takes of the hypervisor's own state.
; RBX, RCX, RDX, RBP, R8 to R15 are the guest's.

        bits 64

REPORT          equ 0x1000              ; the port that gets each exit code
ANSWER          equ 0x5a
MSR_LOW         equ 0x55667788
MSR_HIGH        equ 0x11223344

MSR_EFER        equ 0xc0000080
EFER_SVME       equ 12
MSR_VM_HSAVE_PA equ 0xc0010117
PAGE            equ 0x1000

; The VMCB (AMD APM Vol. 2, Appendix B).
EXITCODE        equ 0x070
EXITINFO1       equ 0x078
EXITINFO2       equ 0x080
SAVED_RIP       equ 0x578
SAVED_RAX       equ 0x5f8

IOIO_IN         equ 0                   ; bit of EXITINFO1
MSR_WRITE       equ 0                   ; bit of EXITINFO1

VMEXIT_CPUID    equ 0x72
VMEXIT_IOIO     equ 0x7b
VMEXIT_MSR      equ 0x7c
VMEXIT_VMMCALL  equ 0x81

_start:
        push    rcx
        push    rdx
        mov     ecx, MSR_EFER
        rdmsr
        bts     eax, EFER_SVME
        wrmsr
        mov     ecx, MSR_VM_HSAVE_PA
        mov     rax, rsi
        mov     rdx, rsi
        shr     rdx, 32
        wrmsr
        pop     rdx
        pop     rcx

.enter: lea     rax, [rsi + PAGE]       ; FS, GS, TR, LDTR and their kin: VMRUN does not change them
        vmsave
        mov     rax, rdi
        vmload
        push    rdi
        push    rsi
        vmrun                           ; clears GIF when the guest leaves
        pop     rsi
        pop     rdi
        mov     rax, rdi
        vmsave
        lea     rax, [rsi + PAGE]
        vmload
        stgi

        push    rdx
        mov     dx, REPORT
        mov     eax, [rdi + EXITCODE]
        out     dx, eax
        pop     rdx

        cmp     eax, VMEXIT_IOIO
        je      .io
        cmp     eax, VMEXIT_MSR
        je      .msr
        cmp     eax, VMEXIT_CPUID
        je      .two
        cmp     eax, VMEXIT_VMMCALL
        je      .three
        hlt

.io:    mov     rax, [rdi + EXITINFO2]  ; the address behind the instruction
        mov     [rdi + SAVED_RIP], rax
        bt      dword [rdi + EXITINFO1], IOIO_IN
        jnc     .enter
        mov     byte [rdi + SAVED_RAX], ANSWER
        jmp     .enter

.msr:   bt      dword [rdi + EXITINFO1], MSR_WRITE
        jc      .two
        mov     eax, MSR_LOW
        mov     [rdi + SAVED_RAX], rax
        mov     edx, MSR_HIGH
.two:   add     qword [rdi + SAVED_RIP], 2
        jmp     .enter

.three: add     qword [rdi + SAVED_RIP], 3
        jmp     .enter
