import type { DeviceBoard } from "../device.ts";
import { dmaWrite } from "../dma.ts";

/** Where writes of 32 bits are interrupt messages (Intel SDM Vol. 3A, 11.11.1). */
const MESSAGES = { first: 0xfee0_0000, last: 0xfeef_ffff } as const;

/** A message-signalled interrupt: a write of 32 bits, wherever its address has been set to lead. */
export function sendMessage(board: DeviceBoard, address: bigint, data: number): void {
  if (address >= MESSAGES.first && address <= MESSAGES.last) {
    board.signalMsi(Number(address), data);
    return;
  }
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, data, true);
  dmaWrite(board.memory, address, bytes);
}
