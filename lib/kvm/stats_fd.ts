import type { Libc } from "../ffi/libc.ts";
import { OwnedFd } from "../ffi/handles.ts";
import { SystemError } from "../ffi/errors.ts";
import {
  kvm_stats_desc,
  kvm_stats_header,
  type KvmStatsDesc,
  type KvmStatsHeader,
} from "./abi/structs/stats.ts";
import { buffer } from "./ioctl_target.ts";

const VALUE_SIZE = 8;
const WORD = 2 ** 32;

/** A statistic that the kernel keeps. */
export interface Statistic extends Omit<KvmStatsDesc, "name"> {
  /** Its name: `"exits"`. */
  readonly name: string;
}

/** The statistics of a VM or a vCPU: the file that `KVM_GET_STATS_FD` opens (api.rst 4.133). */
export class StatsFd implements Disposable {
  readonly #libc: Libc;
  readonly #fd: OwnedFd;
  readonly #header: KvmStatsHeader;
  /** Whose they are: `"kvm-123/vcpu-0"`. */
  readonly id: string;
  /** What is counted. `flags` are of `KVM_STATS_TYPE`, `KVM_STATS_UNIT` and `KVM_STATS_BASE`. */
  readonly statistics: readonly Statistic[];

  /**
   * Use {@linkcode Vm.getStatsFd} or {@linkcode Vcpu.getStatsFd}. Takes ownership of `fd`.
   *
   * @throws {SystemError} When it cannot be read.
   */
  constructor(libc: Libc, fd: number, what: string) {
    using cleanup = new DisposableStack();
    this.#libc = libc;
    this.#fd = cleanup.use(new OwnedFd(libc, fd, what));
    this.#header = kvm_stats_header.read(this.#read(0, kvm_stats_header.size));
    const { id_offset, name_size, num_desc, desc_offset } = this.#header;
    this.id = text(this.#read(id_offset, name_size));
    const stride = kvm_stats_desc.sizeFor(name_size);
    const descriptors = this.#read(desc_offset, num_desc * stride);
    this.statistics = Array.from({ length: num_desc }, (_, index) => {
      const view = new DataView(descriptors.buffer, index * stride, stride);
      const { name, ...rest } = kvm_stats_desc.read(view);
      return { ...rest, name: text(new DataView(name.slice().buffer)) };
    });
    cleanup.move();
  }

  /**
   * The values now, by name: one for a number, several for a histogram.
   *
   * @throws {SystemError} When they cannot be read.
   */
  read(): Map<string, bigint[]> {
    const { data_offset } = this.#header;
    const end = Math.max(...this.statistics.map(({ offset, size }) => offset + size * VALUE_SIZE));
    const view = this.#read(data_offset, end);
    return new Map(this.statistics.map(({ name, offset, size }) => [
      name,
      Array.from(
        { length: size },
        (_, index) => view.getBigUint64(offset + index * VALUE_SIZE, true),
      ),
    ]));
  }

  /**
   * What reads some values time and again, by one system call.
   *
   * @returns It gives them in the order of their names, in the same array each time, and throws a {@linkcode SystemError}
   *   where they cannot be read.
   * @throws {RangeError} When there is no such statistic.
   */
  reader(names: readonly string[]): () => Float64Array {
    const offsets = names.map((name) => {
      const found = this.statistics.find((each) => each.name === name);
      if (found !== undefined) return found.offset;
      throw new RangeError(`Cannot read ${name}: there is no such statistic`);
    });
    const first = Math.min(...offsets);
    const bytes = buffer(Math.max(...offsets) + VALUE_SIZE - first);
    const words = new Uint32Array(bytes.buffer);
    const values = new Float64Array(names.length);
    return () => {
      this.#fill(bytes, this.#header.data_offset + first);
      for (let index = 0; index < offsets.length; index++) {
        const word = (offsets[index] - first) / Uint32Array.BYTES_PER_ELEMENT;
        values[index] = words[word] + words[word + 1] * WORD;
      }
      return values;
    };
  }

  /** Closes it; a second call does nothing. */
  [Symbol.dispose](): void {
    this.#fd[Symbol.dispose]();
  }

  #read(offset: number, size: number): DataView<ArrayBuffer> {
    const bytes = buffer(size);
    this.#fill(bytes, offset);
    return new DataView(bytes.buffer);
  }

  #fill(bytes: Uint8Array<ArrayBuffer>, offset: number): void {
    const size = bytes.length;
    const count = this.#libc.pread(this.#fd.number, bytes, offset);
    if (count === size) return;
    throw new SystemError(
      "pread",
      count < 0 ? this.#libc.errno() : 0,
      `${count} of ${size} bytes of the statistics were read at ${offset}`,
    );
  }
}

function text(view: DataView<ArrayBuffer>): string {
  return new TextDecoder().decode(view).replace(/\0.*$/s, "");
}
