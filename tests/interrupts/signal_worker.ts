/** A thread that adds to an eventfd after a while: what a device beside the machine would do. */
import { kvmLibc } from "@vmexit/vmexit/kvm";

const scope = self as unknown as {
  onmessage: (event: MessageEvent<{ fd: number; after: number }>) => void;
  postMessage(message: unknown): void;
};

scope.onmessage = ({ data: { fd, after } }) => {
  setTimeout(() => kvmLibc().write(fd, new Uint8Array(new BigUint64Array([1n]).buffer)), after);
};
scope.postMessage("ready");
