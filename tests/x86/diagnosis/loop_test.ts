import { assertEquals } from "@std/assert";
import { counted, findLoop, readsOf, whyItStays } from "../../../lib/x86/diagnosis/loop.ts";
import { GuestView } from "../../../lib/x86/diagnosis/guest_view.ts";
import { incidentOf } from "./incident_of.ts";

/** Code by its instructions: each has four bytes, and a name of its place stands for its address. */
function code(text: string): (linear: bigint) => { text: string; length: number } | undefined {
  const lines = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  const places = new Map<string, number>();
  const instructions: string[] = [];
  for (const line of lines) {
    if (line.endsWith(":")) places.set(line.slice(0, -1), 4 * instructions.length);
    else instructions.push(line);
  }
  const named = instructions.map((each) =>
    each.replace(/@(\w+)/, (_, name) => `0x${places.get(name)!.toString(16)}`)
  );
  return (linear) => {
    const found = named[Number(linear) / 4];
    return found === undefined ? undefined : { text: found, length: 4 };
  };
}

const loopOf = (text: string, start: number, callers: readonly number[] = []) =>
  findLoop(BigInt(4 * start), code(text), callers.map((each) => BigInt(4 * each)));

/** The loop by the numbers of its instructions. */
const numbers = (text: string, start: number, callers: readonly number[] = []) =>
  loopOf(text, start, callers)?.map(({ linear }) => Number(linear) / 4);

const WAIT = `
  mov eax,0x1
  wait:
  in al,0x64
  test al,0x1
  jz @wait
  hlt
`;

/** A loop that asks by a function. */
const BY_CALL = `
  wait:
  call @status
  test al,0x1
  jz @wait
  hlt
  status:
  push ebp
  mov edx,0x3fd
  in al,dx
  pop ebp
  ret
`;

Deno.test("the shortest way back is the loop, from wherever in it the CPU was stopped", () => {
  for (const start of [1, 2, 3]) assertEquals(numbers(WAIT, start), [1, 2, 3]);
  assertEquals(numbers(WAIT, 0), undefined);
  assertEquals(numbers("again:\njmp short @again", 0), [0]);
  assertEquals(numbers("again:\nnop\nloop @again\nhlt", 1), [0, 1]);
  // The inner of two.
  assertEquals(numbers("outer:\nnop\ninner:\npause\njnz @inner\njmp @outer", 1), [1, 2]);
  assertEquals(numbers("outer:\nnop\ninner:\npause\njnz @inner\njmp @outer", 3), [0, 1, 2, 3]);
  assertEquals(numbers("nop\nret", 0), undefined);
  assertEquals(numbers("jmp eax", 0), undefined);
});

Deno.test("a loop leads through the functions that it calls", () => {
  assertEquals(numbers(BY_CALL, 1), [0, 4, 5, 6, 7, 8, 1, 2]);
  // Stopped within the function, which is told where it returns to.
  assertEquals(numbers(BY_CALL, 6, [1]), [0, 4, 5, 6, 7, 8, 1, 2]);
  assertEquals(numbers(BY_CALL, 6), undefined);
  // What a register calls is stepped over, and recursion comes to an end.
  assertEquals(numbers("again:\ncall eax\njmp @again", 0), [0, 1]);
  assertEquals(numbers("again:\ncall @again\nhlt", 0), [0]);
});

Deno.test("why a CPU stays in a loop: the jumps by which it could leave it", () => {
  const said = (text: string, start: number) =>
    whyItStays(loopOf(text, start)!, (linear) => `#${Number(linear) / 4}`);
  assertEquals(said(WAIT, 1), "it stays there as long as `jz 0x4` at #3 is taken");
  assertEquals(
    said("again:\nnop\njz @out\njmp @again\nout:\nhlt", 0),
    "it stays there as long as `jz 0xc` at #1 is not taken",
  );
  assertEquals(said("again:\njmp @again", 0), "no jump leads out of it");
});

/** What the loop around an instruction reads, in words. */
function reads(text: string, start: number, registers: Record<string, bigint> = {}): string[] {
  const view = new GuestView(incidentOf({ text: "nop", registers }), () => undefined);
  return readsOf(loopOf(text, start)!, view).map((read) => {
    const written = read.isWritten ? "locked " : "";
    switch (read.kind) {
      case "memory":
        return `${written}${read.size} at ${read.linear?.toString(16)}`;
      case "port":
        return `port ${read.port?.toString(16)}`;
      case "MSR":
        return `MSR ${read.index?.toString(16)}`;
      case "time":
        return "time";
    }
  });
}

Deno.test("what a loop reads: ports, MSRs, memory, with the registers that it does not change", () => {
  assertEquals(reads(WAIT, 1), ["port 64"]);
  assertEquals(reads(WAIT, 2), ["port 64"]);
  assertEquals(reads(BY_CALL, 0), ["port 3fd"]);
  const again = (...body: string[]) => ["again:", ...body, "jmp @again"].join("\n");
  assertEquals(reads(again("in al,dx"), 0, { rdx: 0x1f7n }), ["port 1f7"]);
  assertEquals(reads(again("mov dx,0x1f7", "in al,dx", "mov dx,0x3f6", "in al,dx"), 0), [
    "port undefined",
    "port undefined",
  ]);
  assertEquals(reads(again("mov ecx,0x1b", "rdmsr"), 0), ["MSR 1b"]);
  assertEquals(reads(again("rdtsc", "cmp eax,ebx"), 0), ["time"]);
  assertEquals(reads(again("cmp dword [0x5000],byte +0x0", "pause"), 0), ["4 at 5000"]);
  assertEquals(reads(again("mov eax,[ebx+0x8]", "test eax,eax"), 0, { rbx: 0x6000n }), [
    "4 at 6008",
  ]);
  // A pointer that it loads each time, and a counter.
  assertEquals(reads(again("mov eax,[0x5000]", "cmp byte [eax],0x0"), 0), [
    "4 at 5000",
    "1 at undefined",
  ]);
  assertEquals(reads(again("lodsb", "or al,al"), 0), ["1 at undefined"]);
  assertEquals(reads(again("xchg al,[0x5000]"), 0), ["locked 1 at 5000"]);
  assertEquals(reads(again("lock bts dword [0x5000],byte +0x0"), 0), ["locked 4 at 5000"]);
  // What it only writes it does not wait for; nor for its stack.
  assertEquals(reads(again("mov [0x5000],eax", "push eax", "pop eax", "inc ebx"), 0), []);
  assertEquals(counted(loopOf(again("inc ebx", "add esp,byte +0x4", "cmp ebx,ecx"), 0)!), ["rbx"]);
  assertEquals(counted(loopOf("again:\nloop @again", 0)!), ["rcx"]);
});
