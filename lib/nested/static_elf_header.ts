/**
 * The beginning of a static x86-64 program in NASM: with `nasm -f bin` the whole becomes an ELF file. The program's own text defines `start`,
 * `file_end` (behind what is stored) and `memory_end` (behind what is not).
 */
export const STATIC_ELF_HEADER: string = `
bits 64
org 0x400000

elf_header:
    db 0x7f, "ELF", 2, 1, 1, 0
    dq 0
    dw 2, 62
    dd 1
    dq start, program_header - elf_header, 0
    dd 0
    dw 64, 56, 1, 0, 0, 0
program_header:
    dd 1, 7
    dq 0, elf_header, elf_header
    dq file_end - elf_header, memory_end - elf_header, 0x1000
`;
