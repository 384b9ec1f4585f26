// How `keyhole resolve-aws` is asked; apart from it, since whoever asks must not load the SDK.

/** The arguments for the wanted profile and region. */
export function resolveArguments(wanted: { profile?: unknown; region?: unknown }): string[] {
  const option = (name: string, value: unknown) => (typeof value === 'string' ? [`--${name}=${value}`] : []);
  return ['resolve-aws', ...option('profile', wanted.profile), ...option('region', wanted.region)];
}
