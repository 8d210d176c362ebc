import type { Input } from "../exits/input_record.ts";

/** Whose turn it was, rather than something that came from outside. */
export type Turn = { readonly kind: "cpu" | "interrupted" };

/** Whether an input is one of them. */
export function isTurn(input: Input): input is Extract<Input, Turn> {
  return input.kind === "cpu" || input.kind === "interrupted";
}

/** By the number of the exit before: whose the next exit is, where that is said, and who was interrupted before it. */
export function turnsOf(
  inputs: readonly Input[],
): ReadonlyMap<number, { readonly cpu?: number; readonly interrupted: readonly number[] }> {
  const turns = new Map<number, { cpu?: number; readonly interrupted: number[] }>();
  for (const input of inputs.filter(isTurn)) {
    const turn = turns.getOrInsert(input.exit, { interrupted: [] });
    if (input.kind === "cpu") turn.cpu = input.cpu;
    else turn.interrupted.push(input.cpu);
  }
  return turns;
}

/** How far a CPU of a repeated run has come. */
export interface CpuProgress {
  /** Whether KVM has finished its latest exit. */
  isCompleted: boolean;
  /** Whether an exit is in its `kvm_run` that was not looked at. */
  holdsExit: boolean;
}

/** Exits of the guest, rather than something that came from outside. */
export type Progress = { readonly kind: "asked" | "unlogged" };

/** Whether an input is one of them. */
export function isProgress(input: Input): input is Extract<Input, Progress> {
  return input.kind === "asked" || input.kind === "unlogged";
}
