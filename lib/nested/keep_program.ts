import { STATIC_ELF_HEADER } from "./static_elf_header.ts";

/**
 * NASM source of a static program that holds two virtual machines open for as long as the nested machine lives: one without an interrupt controller,
 * one with. It exits once it holds them; a child of it goes on.
 *
 * With the first VM, and with the first vCPU of either kind, Linux patches its own code (the static keys `preempt_notifier_key`,
 * `kvm_has_noapic_vcpu` and `apic_sw_disabled`), and again when the last one goes. QEMU before 8.1 may keep a stale translation of such code when
 * the other processor executes it meanwhile: both processors then take the same breakpoint for ever. Since nothing is patched any more,
 * that cannot happen, and a VM is made and closed in less time.
 */
export const KEEP_PROGRAM: string = `
%define SYS_OPEN 2
%define SYS_IOCTL 16
%define SYS_PAUSE 34
%define SYS_FORK 57
%define SYS_EXIT 60
%define O_RDWR 2
%define KVM_CREATE_VM 0xae01
%define KVM_CREATE_VCPU 0xae41
%define KVM_CREATE_IRQCHIP 0xae60
${STATIC_ELF_HEADER}
; ioctl(edi, esi, 0); the result comes back in eax, and a failure ends the program
call_ioctl:
    mov eax, SYS_IOCTL
    xor edx, edx
    syscall
    test eax, eax
    js failed
    ret

start:
    mov eax, SYS_OPEN
    mov edi, device
    mov esi, O_RDWR
    syscall
    test eax, eax
    js failed
    mov ebx, eax

    mov edi, ebx
    mov esi, KVM_CREATE_VM
    call call_ioctl
    mov edi, eax
    mov esi, KVM_CREATE_VCPU
    call call_ioctl

    mov edi, ebx
    mov esi, KVM_CREATE_VM
    call call_ioctl
    mov ebp, eax
    mov edi, ebp
    mov esi, KVM_CREATE_IRQCHIP
    call call_ioctl
    mov edi, ebp
    mov esi, KVM_CREATE_VCPU
    call call_ioctl

    mov eax, SYS_FORK
    syscall
    test eax, eax
    js failed
    jnz done
.hold:
    mov eax, SYS_PAUSE
    syscall
    jmp .hold

done:
    xor edi, edi
    jmp exit
failed:
    mov edi, 1
exit:
    mov eax, SYS_EXIT
    syscall

device: db "/dev/kvm", 0
file_end:
memory_end:
`;
