; A hypervisor for VMX that knows no guest of its own: whoever boots it puts the VMXON region, the VMCS, its
; bitmaps, EPT and the guest into memory, with a table of what to write into the VMCS and one of what to read
; from it. It runs that guest, writes each exit reason to a port, and answers what it can: an IN with 0x5a, an
; RDMSR with 0x1122334455667788; it goes on behind those, behind OUT, WRMSR, CPUID and VMCALL. Any other exit
; is its last: it halts. Where VMX refuses an instruction, it writes the VM-instruction error to another port,
; or 0 where there was no current VMCS, and halts.
;
; RDI: the VMXON region. RSI: the VMCS. RBP: fields to write, RBX: fields to read, both as pairs of encoding
; and value, 8 bytes each, the last encoding followed by -1. The fields host_rsp and host_rip are its own
; business. RCX, R8 to R15 are the guest's.

        bits 64

REPORT          equ 0x1000              ; the port that gets each exit reason
FAILED          equ 0x1004              ; the port that gets a VM-instruction error
ANSWER          equ 0x5a
MSR_ANSWER      equ 0x1122334455667788

CR4_VMXE        equ 13
IA32_FEATURE_CONTROL equ 0x3a
LOCK_BIT        equ 0
LOCKED_VMX      equ 101b                ; lock, and VMX outside SMX operation

; Fields of the VMCS (Intel SDM Vol. 3D, Appendix B).
VM_INSTRUCTION_ERROR equ 0x4400
EXIT_REASON     equ 0x4402
INSTRUCTION_LENGTH equ 0x440c
EXIT_QUALIFICATION equ 0x6400
GUEST_RIP       equ 0x681e
HOST_RSP        equ 0x6c14
HOST_RIP        equ 0x6c16

QUALIFICATION_IN equ 3                  ; bit of an I/O instruction's exit qualification

REASON_CPUID    equ 10
REASON_VMCALL   equ 18
REASON_IO       equ 30
REASON_RDMSR    equ 31
REASON_WRMSR    equ 32

END_OF_TABLE    equ -1

_start:
        mov     rax, cr4
        bts     rax, CR4_VMXE
        mov     cr4, rax
        mov     ecx, IA32_FEATURE_CONTROL
        rdmsr
        bt      eax, LOCK_BIT
        jc      .locked
        or      eax, LOCKED_VMX
        wrmsr
.locked:
        mov     [rel region], rdi
        vmxon   [rel region]
        jbe     failed                  ; CF: no current VMCS; ZF: an error number
        mov     [rel region], rsi
        vmclear [rel region]
        jbe     failed
        vmptrld [rel region]
        jbe     failed

.write: mov     rdx, [rbp]
        cmp     rdx, END_OF_TABLE
        je      .enter
        vmwrite rdx, [rbp + 8]
        jbe     failed
        add     rbp, 16
        jmp     .write

.enter: mov     [rel reads], rbx
        mov     edx, HOST_RSP
        vmwrite rdx, rsp
        jbe     failed
        lea     rax, [rel left]
        mov     edx, HOST_RIP
        vmwrite rdx, rax
        jbe     failed
        xor     eax, eax
        xor     ecx, ecx
        xor     edx, edx
        vmlaunch
        jmp     failed

; The guest has left: RSP is as it was at VMLAUNCH, all other general registers are the guest's.
left:   mov     [rel guest_rax], rax
        mov     [rel guest_rbx], rbx
        mov     [rel guest_rdx], rdx

        mov     rbx, [rel reads]
.read:  mov     rdx, [rbx]
        cmp     rdx, END_OF_TABLE
        je      .report
        vmread  [rbx + 8], rdx
        jbe     failed
        add     rbx, 16
        jmp     .read

.report:
        mov     edx, EXIT_REASON
        vmread  rax, rdx
        mov     dx, REPORT
        out     dx, eax

        cmp     eax, REASON_IO
        je      .io
        cmp     eax, REASON_RDMSR
        je      .rdmsr
        cmp     eax, REASON_WRMSR
        je      .on
        cmp     eax, REASON_CPUID
        je      .on
        cmp     eax, REASON_VMCALL
        je      .on
        hlt

.io:    mov     edx, EXIT_QUALIFICATION
        vmread  rax, rdx
        bt      eax, QUALIFICATION_IN
        jnc     .on
        mov     byte [rel guest_rax], ANSWER
        jmp     .on

.rdmsr: mov     rax, MSR_ANSWER
        mov     edx, eax
        mov     [rel guest_rax], rdx
        shr     rax, 32
        mov     [rel guest_rdx], rax

.on:    mov     edx, GUEST_RIP
        vmread  rax, rdx
        mov     edx, INSTRUCTION_LENGTH
        vmread  rbx, rdx
        add     rax, rbx
        mov     edx, GUEST_RIP
        vmwrite rdx, rax
        jbe     failed
        mov     rax, [rel guest_rax]
        mov     rbx, [rel guest_rbx]
        mov     rdx, [rel guest_rdx]
        vmresume

failed: mov     eax, 0                  ; which leaves the flags
        jc      .report
        mov     edx, VM_INSTRUCTION_ERROR
        vmread  rax, rdx
.report:
        mov     dx, FAILED
        out     dx, eax
        hlt

        align 8
region: dq 0
reads:  dq 0
guest_rax: dq 0
guest_rbx: dq 0
guest_rdx: dq 0
