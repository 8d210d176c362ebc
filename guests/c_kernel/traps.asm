; What C cannot say: loading segments, and entering C from an interrupt. For 32 and 64-bit code.
%include "width.inc"

CODE    equ 0x08
DATA    equ 0x10
VECTORS equ 48                  ; exceptions, and the lines of both PICs

%if WORD_SIZE = 8
  %define CALLER_SAVED rax, rcx, rdx, rsi, rdi, r8, r9, r10, r11
  %define address dq
%else
  %define CALLER_SAVED eax, ecx, edx
  %define address dd
%endif

%macro push_all 1-*
  %rep %0
    push %1
    %rotate 1
  %endrep
  %assign pushed %0
%endmacro

%macro pop_all 1-*
  %rep %0
    %rotate -1
    pop %1
  %endrep
%endmacro

        section .text

; void load_gdt(const struct table *gdt)
        global load_gdt
load_gdt:
%if WORD_SIZE = 4
        mov eax, [esp + 4]
        lgdt [eax]
%else
        lgdt [rdi]
%endif
        mov ecx, DATA
        mov ds, ecx
        mov es, ecx
        mov fs, ecx
        mov gs, ecx
        mov ss, ecx
        pop xax
        push CODE
        push xax
%if WORD_SIZE = 8
        o64 retf
%else
        retf
%endif

; Each vector has an entry, which leaves a `struct trap` on the stack.
%assign vector 0
%rep VECTORS
entry_ %+ vector:
  %if vector <> 8 && (vector < 10 || vector > 14) && vector <> 17
        push 0                  ; where the CPU pushes no error code
  %endif
        push vector
        jmp enter_c
  %assign vector vector + 1
%endrep

        extern trap
enter_c:
        push_all CALLER_SAVED
        cld
        lea xax, [xsp + pushed * WORD_SIZE]
%if WORD_SIZE = 8
        mov rdi, rax
        call trap
%else
        push eax
        call trap
        add esp, 4
%endif
        pop_all CALLER_SAVED
        add xsp, 2 * WORD_SIZE  ; vector and error code
        xiret

        section .rodata
        global trap_entries
trap_entries:
%assign vector 0
%rep VECTORS
        address entry_ %+ vector
  %assign vector vector + 1
%endrep
