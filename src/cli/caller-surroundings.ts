// What AWS settings depend on: the environment and the folder of whoever called us.

export function callerSurroundings(env: NodeJS.ProcessEnv): { env: Record<string, string>; cwd: string } {
  return { env: definedOnly(env), cwd: workingDirectory() };
}

function definedOnly(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** One that was removed is no reason not to connect. */
function workingDirectory(): string {
  try {
    return process.cwd();
  } catch {
    return '/';
  }
}
