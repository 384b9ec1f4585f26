// How `keyhole resolve-aws` is asked; apart from it, since whoever asks must not load the SDK.

/** As a peer may have written it. */
export interface WantedSettings {
  profile?: unknown;
  region?: unknown;
}

/** The arguments for the wanted profile and region. */
export function resolveArguments(wanted: WantedSettings): string[] {
  const option = (name: string, value: unknown) => (typeof value === 'string' ? [`--${name}=${value}`] : []);
  return ['resolve-aws', ...option('profile', wanted.profile), ...option('region', wanted.region)];
}
