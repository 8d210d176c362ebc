import { MFD, O, SEEK } from "../../ffi/files.ts";
import { HostError, SystemError } from "../../ffi/errors.ts";
import type { Libc } from "../../ffi/libc.ts";
import { MAP, MAP_FAILED, PROT } from "../../ffi/mman.ts";
import { type ProcessCalls, processCalls } from "../../ffi/process_calls.ts";
import { IMAGE_FILES, type MachineImage } from "./machine_image.ts";
import { qemuArguments } from "./qemu_arguments.ts";
import { NOTES, SIGNAL_SIZE, WINDOW, WINDOW_MEMORY, WINDOW_SIZE } from "./window.ts";

/** How the window's descriptor is named in `/proc`, by which other isolates find it. */
const WINDOW_NAME = "vmexit-kvm";

/** How much of what QEMU and the machine's kernel said last is told. */
const TAIL_SIZE = 4096;

/** Bytes of all notes: each has 8. */
const NOTES_SIZE = Math.max(...Object.values(NOTES)) + 8;

/** The numbers that the machine's descriptors have in the supervisor. */
const DESCRIPTOR = {
  window: 3,
  state: 4,
  bell: 5,
  done: 6,
  monitor: 7,
  console: 8,
  signal: 9,
} as const;

/**
 * Starts the machine's program as a child, ends it as soon as the other end of its standard input is closed, however
 * that came, and keeps none of the machine's descriptors open itself.
 */
const SUPERVISOR = `"$@" </dev/null & machine=$!
exec ${Object.values(DESCRIPTOR).map((fd) => `${fd}>&-`).join(" ")}
read nothing
kill -9 $machine 2>/dev/null
wait $machine
echo "QEMU's exit status: $?" >&2`;

/** The process's own descriptors of a machine, its supervisor, and where its window is. */
export interface MachineHandles {
  /** Where the window is mapped. */
  readonly address: bigint;
  /** The window's file. */
  readonly window: number;
  /** The process id of what ends it. */
  readonly supervisor: number;
  /** What ends it when it is closed. */
  readonly life: number;
  /** Wakes the agent. */
  readonly bell: number;
  /** Signals eventfds. */
  readonly signal: number;
  /** Has a byte for each request that is done while somebody waits. */
  readonly done: number;
  /** What the machine's kernel says. */
  readonly console: number;
  /** What QEMU says. */
  readonly complaints: number;
}

/** A machine of this process, as its notes have it. */
export interface NotedMachine {
  readonly parts: MachineHandles;
  /** The thread that holds it, or one of `HOLDER`. */
  readonly holder: number;
}

/**
 * Starts QEMU with the state of an image, which then runs on. Its sockets have no names and its shared memory has no
 * file, so nothing can be left of them.
 *
 * @returns What it is reached by, and its monitor, which must stay open until the agent answers: QEMU hears nothing
 *   from one that is closed.
 * @throws {SystemError} When descriptors or memory are used up, or the image is not there.
 */
export function startMachine(
  libc: Libc,
  image: MachineImage,
): { readonly parts: MachineHandles; readonly monitor: number } {
  const calls = processCalls();
  using opened = new DisposableStack();
  using lent = new DisposableStack();
  const failed = (call: string) =>
    new SystemError(call, libc.errno(), "the emulated machine was not started");
  const hold = (stack: DisposableStack, call: string, fd: number) => {
    if (fd < 0) throw failed(call);
    stack.defer(() => libc.close(fd));
    return fd;
  };
  const memoryFile = (name: string) =>
    hold(opened, "memfd_create", libc.memfd_create(name, MFD.CLOEXEC));
  const file = (path: string, flags: number) =>
    hold(lent, "open", libc.open(path, flags | O.CLOEXEC));
  const pair = (owner: DisposableStack) => {
    const [here, there] = calls.socketpair();
    return [hold(owner, "socketpair", here), hold(lent, "socketpair", there)];
  };
  const window = memoryFile(WINDOW_NAME);
  if (calls.ftruncate(window, WINDOW_MEMORY) !== 0) throw failed("ftruncate");
  const address = libc.mmap(WINDOW_SIZE, PROT.READ | PROT.WRITE, MAP.SHARED, window, 0);
  if (address === MAP_FAILED) throw failed("mmap");
  opened.defer(() => libc.munmap(address, WINDOW_SIZE));
  const console = memoryFile("vmexit-console");
  const complaints = memoryFile("vmexit-complaints");
  const [bell, bellThere] = pair(opened);
  const [signal, signalThere] = pair(opened);
  const [done, doneThere] = pair(opened);
  const [life, lifeThere] = pair(opened);
  const [monitor, monitorThere] = pair(opened);
  const state = file(`${image.folder}/${IMAGE_FILES.state}`, 0);
  const nothing = file("/dev/null", O.RDWR);
  const socket = (fd: number) => `socket,fd=${fd}`;
  const qemu = qemuArguments({
    memory: `${image.folder}/${IMAGE_FILES.memory}`,
    keepsMemory: false,
    window: `/proc/self/fd/${DESCRIPTOR.window}`,
    connections: {
      bell: socket(DESCRIPTOR.bell),
      signal: socket(DESCRIPTOR.signal),
      done: socket(DESCRIPTOR.done),
      monitor: socket(DESCRIPTOR.monitor),
      console: `file,path=/proc/self/fd/${DESCRIPTOR.console}`,
    },
  });
  const supervisor = calls.spawn({
    program: "/bin/sh",
    args: ["sh", "-c", SUPERVISOR, "vmexit", image.program, ...qemu, "-incoming", "defer"],
    env: ["PATH=/usr/bin:/bin", "LC_ALL=C"],
    descriptors: [
      ...[lifeThere, nothing, complaints],
      ...[window, state, bellThere, doneThere, monitorThere, console, signalThere],
    ],
  });
  loadState(calls, monitor);
  opened.move();
  const parts = { address, window, supervisor, life, bell, signal, done, console, complaints };
  return { parts, monitor };
}

/** Has QEMU load the saved state. What it answers nobody reads: that it did is seen by the agent's answer. */
function loadState(calls: ProcessCalls, monitor: number): void {
  const commands: { execute: string; arguments?: Record<string, unknown> }[] = [
    { execute: "qmp_capabilities" },
    {
      execute: "migrate-set-capabilities",
      arguments: { capabilities: [{ capability: "x-ignore-shared", state: true }] },
    },
    { execute: "migrate-incoming", arguments: { uri: `fd:${DESCRIPTOR.state}` } },
  ];
  const text = commands.map((command) => `${JSON.stringify(command)}\n`).join("");
  calls.send(monitor, new TextEncoder().encode(text));
}

/** Writes down in the window what other isolates need to use the machine. */
export function writeNotes(view: DataView, parts: MachineHandles): void {
  for (const [name, value] of Object.entries(parts)) {
    const at = NOTES[name as keyof MachineHandles];
    view.setBigInt64(WINDOW.notes + at, BigInt(value), true);
  }
}

/** The machines of this process, whoever holds them. */
export function* notedMachines(libc: Libc): Generator<NotedMachine> {
  for (const name of processCalls().namesIn("/proc/self/fd")) {
    const window = Number(name);
    const note = isWindow(window) ? readNotes(libc, window) : undefined;
    if (note === undefined || note("window") !== window) continue;
    const parts: MachineHandles = {
      address: BigInt(note("address")),
      window,
      supervisor: note("supervisor"),
      life: note("life"),
      bell: note("bell"),
      signal: note("signal"),
      done: note("done"),
      console: note("console"),
      complaints: note("complaints"),
    };
    yield { parts, holder: note("holder") };
  }
}

/**
 * What a window's notes have, by name; 0 where they have nothing yet. All are read at once: another thread may end the
 * machine meanwhile, and what is opened next has its descriptor's number.
 *
 * @returns Undefined where they cannot be read.
 */
function readNotes(
  libc: Libc,
  window: number,
): ((part: keyof typeof NOTES) => number) | undefined {
  const notes = new DataView(new ArrayBuffer(NOTES_SIZE));
  if (libc.pread(window, new Uint8Array(notes.buffer), WINDOW.notes) !== NOTES_SIZE) {
    return undefined;
  }
  return (part) => Number(notes.getBigInt64(NOTES[part], true));
}

/** Whether a descriptor of this process is a machine's window. */
function isWindow(fd: number): boolean {
  const target = processCalls().readlink(`/proc/self/fd/${fd}`);
  return target?.startsWith(`/memfd:${WINDOW_NAME} `) ?? false;
}

/** The end of what QEMU and the machine's kernel said. */
export function lastWords(libc: Libc, { complaints, console }: MachineHandles): string[] {
  const tail = (fd: number) => {
    const size = libc.lseek(fd, 0, SEEK.END);
    const bytes = new Uint8Array(Math.max(0, Math.min(size, TAIL_SIZE)));
    libc.pread(fd, bytes, size - bytes.length);
    return new TextDecoder().decode(bytes.filter((byte) => byte !== 0)).replaceAll("\r", "").trim();
  };
  return [tail(complaints), tail(console)].filter((text) => text !== "");
}

/**
 * Signals an eventfd of another thread's machine of this process, which may be in the middle of a request.
 *
 * @param window The descriptor of that machine's window.
 * @param number The eventfd's number there.
 * @param count What is added to it.
 * @returns Whether there is such a machine.
 */
export function signalElsewhere(
  libc: Libc,
  window: number,
  number: number,
  count: bigint,
): boolean {
  const note = isWindow(window) ? readNotes(libc, window) : undefined;
  if (note === undefined || note("window") !== window) return false;
  const message = new BigInt64Array([BigInt(number), count]);
  return processCalls().send(note("signal"), new Uint8Array(message.buffer)) === SIGNAL_SIZE;
}

/** The error for something of a machine that is no more. */
export function endedError(death?: string): HostError {
  return new HostError(
    death ?? "The emulated machine that this was in has ended: boot() it anew.",
  );
}
