export { ERRNO, errnoName, HostError, SystemError } from "./errors.ts";
export { EventFd } from "./event_fd.ts";
export type { Libc, PageRange, Pages } from "./libc.ts";
export { type OpenHandles, openHandles, type OwnedFd } from "./handles.ts";
export { allocatePages } from "./pages.ts";
export { libc } from "./real_libc.ts";
