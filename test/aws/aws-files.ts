// AWS settings of a test: an environment without the machine's own, and shared files in a folder of the test.
import { join } from 'node:path';
import type { Test } from 'tap';

/** Replaces all AWS_* of this process until the test ends. The SDK caches the files by path, so each test has its own. */
export function useAwsSettings(
  t: Test,
  files: { config?: string; credentials?: string },
  env: Record<string, string> = {},
) {
  const folder = t.testdir({ config: files.config ?? '', credentials: files.credentials ?? '' });
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('AWS_')));
  const settings = {
    AWS_CONFIG_FILE: join(folder, 'config'),
    AWS_SHARED_CREDENTIALS_FILE: join(folder, 'credentials'),
    AWS_EC2_METADATA_DISABLED: 'true',
  };
  const before = process.env;
  process.env = { ...clean, ...settings, ...env };
  t.teardown(() => {
    process.env = before;
  });
  return folder;
}
