import { STATIC_ELF_HEADER } from "../static_elf_header.ts";
import { SAVE_PORT } from "./save_plugin.ts";

/** NASM source of a static program that has Bochs save the machine's state, and goes on after it: once there, and in each machine that is restored. */
export const FREEZE_PROGRAM: string = `
%define SYS_EXIT 60
%define SYS_IOPL 172
%define ALL_PORTS 3
${STATIC_ELF_HEADER}
start:
    mov eax, SYS_IOPL
    mov edi, ALL_PORTS
    syscall
    mov edi, eax
    test eax, eax
    jnz .exit
    mov dx, ${SAVE_PORT}
    out dx, al
.exit:
    mov eax, SYS_EXIT
    syscall
file_end:
memory_end:
`;
