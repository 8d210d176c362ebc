import { STATIC_ELF_HEADER } from "../guest_programs.ts";

/** The port to which the machine writes a byte when its state shall be saved. Nothing else is there. */
const SAVE_PORT = 0x8b00;

/** The plugin's name in Bochs's configuration. */
export const SAVE_PLUGIN = "vmexit";

/** The folder that the state is saved to, in the run's folder. */
export const STATE_FOLDER = "state";

/**
 * NASM source of a plugin for Bochs that saves the machine's state when the machine writes to a port. Bochs can restore
 * a state without a window, but save one only at the press of a button, which neither its debugger nor a display
 * without a window has. Assembled with `nasm -f bin` it is a shared library as Bochs's own plugins are: one entry
 * point, and a device whose methods do nothing but for the one that registers the port.
 */
export const SAVE_PLUGIN_SOURCE: string = `
bits 64
org 0
default rel
; what an entry point is asked, and a plugin that the configuration may switch on (Bochs, plugin.h)
%define PLUGIN_INIT 1
%define PLUGIN_PROBE 2
%define PLUGIN_TYPE_OPTIONAL 4
%define ANY_LENGTH 7
%define DEVICE_SIZE 256
%define R_X86_64_64 1
%define R_X86_64_RELATIVE 8
%define GLOBAL_FUNCTION 0x12
%define GLOBAL_ANY 0x10
%define SYMBOL_SIZE 24
%define RELOCATION_SIZE 24

header:
    db 0x7f, "ELF", 2, 1, 1, 0
    dq 0
    dw 3, 62                        ; a shared object for x86-64
    dd 1
    dq 0, program_headers, 0
    dd 0
    dw 64, 56, 3, 0, 0, 0
program_headers:
    dd 1, 7                         ; all of it, to read, write and execute
    dq 0, 0, 0, file_end, file_end, 0x1000
    dd 2, 6                         ; the dynamic section
    dq dynamic, dynamic, dynamic, dynamic_end - dynamic, dynamic_end - dynamic, 8
    dd 0x6474e551, 6                ; a stack that is not executable
    dq 0, 0, 0, 0, 0, 16

align 8
dynamic:
    dq 4, hash, 5, strings, 6, symbols, 7, relocations
    dq 8, relocations_end - relocations, 9, RELOCATION_SIZE
    dq 10, strings_end - strings, 11, SYMBOL_SIZE, 0, 0
dynamic_end:

hash:                               ; one bucket with the one symbol that is ours
    dd 1, (symbols_end - symbols) / SYMBOL_SIZE, 1, 0, 0, 0, 0, 0

%macro symbol 3                     ; name, kind, value
    dd %1 - strings
    db %2, 0
    dw %3 != 0
    dq %3, 0
%endmacro
align 8
symbols:
    times SYMBOL_SIZE db 0
    symbol name_entry, GLOBAL_FUNCTION, entry
    symbol name_simulator, GLOBAL_ANY, 0
    symbol name_register_port, GLOBAL_ANY, 0
    symbol name_register_device, GLOBAL_ANY, 0
    symbol name_save_state, GLOBAL_ANY, 0
symbols_end:

%macro imported 2                   ; slot, number of the symbol
    dq %1, (%2 << 32) | R_X86_64_64, 0
%endmacro
%macro own 2                        ; slot, what it points to
    dq %1, R_X86_64_RELATIVE, %2
%endmacro
relocations:
    imported simulator, 2
    imported register_port, 3
    imported register_device, 4
    imported save_state, 5
    own device, methods
    own methods, nothing            ; two destructors
    own methods + 8, nothing
    own methods + 16, initialize
    own methods + 24, nothing       ; reset, register_state, after_restore_state, debug_dump
    own methods + 32, nothing
    own methods + 40, nothing
    own methods + 48, nothing
relocations_end:

strings: db 0
name_entry: db "lib${SAVE_PLUGIN}_plugin_entry", 0
name_simulator: db "SIM", 0
name_register_port: db "pluginRegisterIOWriteHandler", 0
name_register_device: db "pluginRegisterDeviceDevmodel", 0
name_save_state: db "_ZN13bx_real_sim_c10save_stateEPKc", 0
strings_end:
device_name: db "${SAVE_PLUGIN}", 0
state_folder: db "${STATE_FOLDER}", 0

entry:                              ; edi = plugin, esi = type, dl = what is asked
    xor eax, eax
    cmp dl, PLUGIN_PROBE
    je .probe
    cmp dl, PLUGIN_INIT
    jne .done
    lea rdx, [device]
    lea rcx, [device_name]
    sub rsp, 8
    call [register_device]
    add rsp, 8
    xor eax, eax
.done:
    ret
.probe:
    mov eax, PLUGIN_TYPE_OPTIONAL
    ret

initialize:
    mov rdi, [register_port]
    mov rax, [rdi]                  ; a variable with the function
    xor edi, edi
    lea rsi, [written]
    mov edx, ${SAVE_PORT}
    lea rcx, [device_name]
    mov r8d, ANY_LENGTH
    jmp rax

written:
    mov rdi, [simulator]
    mov rdi, [rdi]
    lea rsi, [state_folder]
    sub rsp, 8
    call [save_state]
    add rsp, 8
nothing:
    ret

align 8
simulator: dq 0
register_port: dq 0
register_device: dq 0
save_state: dq 0
methods: times 7 dq 0
device: times DEVICE_SIZE db 0
file_end:
`;

/**
 * NASM source of a static program that has Bochs save the machine's state, and goes on after it: once there, and in
 * each machine that is restored.
 */
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
