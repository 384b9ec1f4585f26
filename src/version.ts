// The version has one source: package.json. The bundler puts it in.
import packageJson from '../package.json' with { type: 'json' };

export const version: string = packageJson.version;
