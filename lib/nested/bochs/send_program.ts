import { STATIC_ELF_HEADER } from "../guest_programs.ts";

/** Bytes before the content of a frame: the port's index and the content's length. */
const FRAME_HEADER = 3;

/**
 * The parallel port, which Bochs writes to a file as fast as the machine does: its serial ports keep to a baud rate.
 */
const PARALLEL_PORT = { data: 0x378, control: 0x37a } as const;
/** Printer selected and not being initialized; with and without the strobe that makes it take the data. */
const CONTROL = { strobe: 0x0d, rest: 0x0c } as const;

/**
 * NASM source of a static program that sends what is written to the file descriptors 3 to 6 through the parallel port,
 * in frames: one byte for the port, counted from 0, two for the length, then the bytes. It never ends. It runs before
 * all else, so that the last words of a command are known even if the guest that it runs next hangs the machine.
 */
export const SEND_PROGRAM: string = `
%define SYS_READ 0
%define SYS_POLL 7
%define SYS_EXIT 60
%define SYS_SCHED_SETSCHEDULER 144
%define SYS_IOPL 172
%define SCHED_FIFO 1
%define ALL_PORTS 3
%define POLLIN 1
%define PORTS 4
%define FIRST_DESCRIPTOR 3
%define HEADER_SIZE ${FRAME_HEADER}
%define BUFFER_SIZE 4096
${STATIC_ELF_HEADER}
start:
    mov eax, SYS_IOPL
    mov edi, ALL_PORTS
    syscall
    test eax, eax
    jnz failed
    mov eax, SYS_SCHED_SETSCHEDULER
    xor edi, edi
    mov esi, SCHED_FIFO
    mov edx, priority
    syscall
    test eax, eax
    jnz failed
.wait:
    mov eax, SYS_POLL
    mov edi, polled
    mov esi, PORTS
    mov edx, -1
    syscall
    test eax, eax
    js failed
    xor ebx, ebx
.port:
    test word [polled + rbx * 8 + 6], POLLIN
    jz .next
    xor eax, eax                    ; SYS_READ
    lea edi, [rbx + FIRST_DESCRIPTOR]
    mov esi, frame + HEADER_SIZE
    mov edx, BUFFER_SIZE
    syscall
    test eax, eax
    jle failed
    mov [frame], bl
    mov [frame + 1], ax
    lea ecx, [rax + HEADER_SIZE]
    mov esi, frame
.byte:
    lodsb
    mov edx, ${PARALLEL_PORT.data}
    out dx, al
    mov edx, ${PARALLEL_PORT.control}
    mov al, ${CONTROL.strobe}
    out dx, al
    mov al, ${CONTROL.rest}
    out dx, al
    dec ecx
    jnz .byte
.next:
    inc ebx
    cmp ebx, PORTS
    jb .port
    jmp .wait
failed:
    mov edi, 1
    mov eax, SYS_EXIT
    syscall

align 8
priority: dd 1
align 8
polled:
%assign descriptor FIRST_DESCRIPTOR
%rep PORTS
    dd descriptor
    dw POLLIN, 0
%assign descriptor descriptor + 1
%endrep
file_end:
absolute $
frame: resb HEADER_SIZE + BUFFER_SIZE
memory_end:
`;

/** A piece of what a machine wrote to one of its ports. */
interface Frame {
  /** The port's index. */
  port: number;
  /** What was written to it. */
  bytes: Uint8Array;
}

/**
 * Takes frames out of a stream of bytes, in which they may be spread over chunks: a byte for the port, two for the
 * length, then the content.
 */
export class FrameSplitter {
  #held: Uint8Array = new Uint8Array();

  /**
   * Takes the next bytes.
   *
   * @param chunk What came.
   * @returns The frames that are complete now.
   */
  push(chunk: Uint8Array): Frame[] {
    const all = new Uint8Array(this.#held.length + chunk.length);
    all.set(this.#held);
    all.set(chunk, this.#held.length);
    const frames: Frame[] = [];
    let offset = 0;
    while (offset + FRAME_HEADER <= all.length) {
      const start = offset + FRAME_HEADER;
      const end = start + (all[offset + 1] | all[offset + 2] << 8);
      if (end > all.length) break;
      frames.push({ port: all[offset], bytes: all.slice(start, end) });
      offset = end;
    }
    this.#held = all.slice(offset);
    return frames;
  }
}
