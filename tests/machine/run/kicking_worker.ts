/** A thread that kicks a machine after a while. */
const scope = self as unknown as {
  onmessage: (
    event: MessageEvent<{ kick: Int32Array<SharedArrayBuffer>; after: number }>,
  ) => void;
  postMessage(message: unknown): void;
};

scope.onmessage = ({ data: { kick, after } }) => {
  setTimeout(() => Atomics.store(kick, 0, 1), after);
};
scope.postMessage("ready");
