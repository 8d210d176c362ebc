; A parser with five faults of five kinds, for the fuzzer: "VX", then commands, of which each begins with a letter.
; In: the text at `text`, its length in ECX. Out: EAX is the sum of the numbers of all S commands, modulo 2^32.
bits 32
parse:
    mov esi, text
    lea edi, [text + ecx]           ; the end
    xor ebx, ebx                    ; the sum
    call byte_
    cmp al, 'V'
    jne done
    call byte_
    cmp al, 'X'
    jne done
next:
    cmp esi, edi
    jae done
    call byte_
    cmp al, 'S'
    je sum
    cmp al, 'D'
    je divide
    cmp al, 'L'
    je count
    cmp al, 'W'
    je poke
    cmp al, 'C'
    je copy
done:
    mov eax, ebx
    hlt

; S n: adds n. Wrong from 200 on.
sum:
    call byte_
    movzx eax, al
    cmp al, 200
    jb .small
    dec eax                         ; the fault
.small:
    add ebx, eax
    jmp next

; D a b: a / b. Nobody asks whether b is 0.
divide:
    call byte_
    movzx edx, al
    call byte_
    xchg eax, edx
    movzx eax, al
    test dl, dl
    jz .zero
    div dl
    jmp next
.zero:
    div dl                          ; the fault
    jmp next

; L n: counts to 255 by n. By 0 it never comes there.
count:
    call byte_
    movzx edx, al
    xor eax, eax
.again:
    add eax, edx                    ; the fault: by 0
    cmp eax, 255
    jb .again
    jmp next

; W i: marks place i of a table. The table has 64 places, and nobody asks.
poke:
    call byte_
    movzx edx, al
    shl edx, 22
    mov byte [table + edx], 1       ; the fault: far behind it there is no memory
    jmp next

; C n: copies n bytes to the stack, where there is room for 16.
copy:
    call byte_
    movzx edx, al
    call .onto_stack
    jmp next
.onto_stack:
    sub esp, 16
    xor eax, eax
.byte:
    cmp eax, edx
    jae .end
    mov byte [esp + eax], 0xff      ; the fault: over the return address
    inc eax
    jmp .byte
.end:
    add esp, 16
    ret

; The next byte, or 0 at the end.
byte_:
    xor eax, eax
    cmp esi, edi
    jae .none
    lodsb
.none:
    ret

align 16
table: times 64 db 0
text: times 64 db 0
