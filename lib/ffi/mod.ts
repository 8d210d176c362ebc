export { ERRNO, errnoName } from "./errno.ts";
export { EventFd } from "./event_fd.ts";
export { HostError } from "./host_error.ts";
export type { Libc, Pages } from "./libc.ts";
export { type OpenHandles, openHandles } from "./open_handles.ts";
export type { OwnedFd } from "./owned_fd.ts";
export { allocatePages } from "./pages.ts";
export { libc } from "./real_libc.ts";
export { SystemError } from "./system_error.ts";
