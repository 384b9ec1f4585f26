// Socket activation: systemd listens on the control socket and starts the daemon when somebody connects (sd_listen_fds(3)).

/** The first descriptor that is passed (SD_LISTEN_FDS_START). */
const firstFd = 3;

/** The listening socket that was passed to this process; undefined where none was. */
export function inheritedSocket(env: NodeJS.ProcessEnv, pid: number = process.pid): number | undefined {
  // A child of whom it was meant for has the variables too, but not the descriptor.
  if (env.LISTEN_PID !== String(pid)) return undefined;
  return /^[1-9][0-9]*$/.test(env.LISTEN_FDS ?? '') ? firstFd : undefined;
}
