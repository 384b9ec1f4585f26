// `keyhole completion bash|zsh|fish`: scripts for the shells. They know verbs and options by heart, and read hosts from files that
// `keyhole hosts` has left; nothing is asked of AWS, and no Node is started, when somebody presses the tab key.
import type { VerbContext } from './run.ts';

export interface Verb {
  name: string;
  about: string;
  /** Without the two hyphens; one that takes a value has `=` behind it. */
  options: string[];
  /** The first operand: a host, one of some words, or nothing that is known. */
  operand: 'host' | 'none' | string[];
}

export const shells = ['bash', 'zsh', 'fish'] as const;

/** What a person types; test/house compares it with --help. */
export const verbs: Verb[] = [
  { name: 'completion', about: 'completions for a shell', options: [], operand: [...shells] },
  { name: 'config', about: 'settings that hold for a host', options: ['json'], operand: 'host' },
  { name: 'daemon', about: 'start, stop, run the daemon', options: [], operand: ['start', 'stop', 'run', 'logs'] },
  { name: 'doctor', about: 'what must hold, checked in order', options: ['json'], operand: 'host' },
  { name: 'down', about: 'end local tunnels', options: [], operand: 'none' },
  { name: 'forward', about: 'a local tunnel', options: ['expose', 'quiet', 'json'], operand: 'host' },
  { name: 'host-keys', about: 'host keys that AWS vouches for', options: ['port='], operand: 'host' },
  {
    name: 'hosts',
    about: 'instances and nodes',
    options: ['sync', 'region=', 'profile=', 'json'],
    operand: 'none',
  },
  {
    name: 'policy',
    about: 'IAM policies and SSM documents',
    options: [
      'user=',
      'instance=',
      'tag=',
      'address=',
      'region=',
      'account=',
      'names',
      'hosts',
      'forward',
      'deny-ssh',
      'push-document',
      'host-keys-document',
    ],
    operand: 'none',
  },
  { name: 'proxy', about: 'what ssh runs', options: ['no-daemon'], operand: 'host' },
  {
    name: 'setup',
    about: 'make ssh go through keyhole',
    options: ['print', 'windows', 'dry-run', 'remove', 'user=', 'hosts=', 'service', 'no-service'],
    operand: 'none',
  },
  { name: 'status', about: 'tunnels of the daemon', options: ['json', 'watch'], operand: 'none' },
  { name: 'up', about: 'open local tunnels of the configuration file', options: [], operand: 'none' },
  { name: 'why', about: 'the last failures', options: ['json'], operand: 'host' },
];

export function completion(shell: (typeof shells)[number], { terminal }: VerbContext): void {
  terminal.print({ bash, zsh, fish }[shell]());
}

/** A shell may expand what it completes, so that nothing but names may come through. */
const namesOnly = "grep -E '^[A-Za-z0-9._-]+$'";
/** Names of hosts, one a line: aliases that ssh knows, and what `keyhole hosts` last listed. */
const listHosts = `{ sed -n 's/^Host //p' ~/.ssh/keyhole/hosts
  cat "\${XDG_STATE_HOME:-$HOME/.local/state}/keyhole/hosts"; } 2>/dev/null | ${namesOnly}`;

function bash(): string {
  const cases = verbs.map(({ name, options, operand }) => {
    const words = [...(Array.isArray(operand) ? operand : []), ...options.map((option) => `--${option}`), '--help'];
    return `    ${name}) words='${words.join(' ')}'${operand === 'host' ? ' hosts=yes' : ''} ;;`;
  });
  return `# bash completion for keyhole; made by \`keyhole completion bash\`.
_keyhole_hosts() {
  ${listHosts}
}
_keyhole() {
  local word=\${COMP_WORDS[COMP_CWORD]} words= hosts= verb=\${COMP_WORDS[1]}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${verbs.map(({ name }) => name).join(' ')} --help --version' -- "$word"))
    return
  fi
  case $verb in
${cases.join('\n')}
    *) return ;;
  esac
  [ -z "$hosts" ] || words="$words $(_keyhole_hosts)"
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  case \${COMPREPLY[0]-} in *=) compopt -o nospace 2>/dev/null ;; esac
}
complete -F _keyhole keyhole
`;
}

function zsh(): string {
  const cases = verbs.map(({ name, options, operand }) => {
    const specs = [
      ...options.map((option) => (option.endsWith('=') ? `'*--${option}:value'` : `'--${option}'`)),
      "'--help'",
      ...(operand === 'host' ? ["'1:host:_keyhole_hosts'"] : []),
      ...(Array.isArray(operand) ? [`'1:word:(${operand.join(' ')})'`] : []),
    ];
    return `    ${name}) _arguments ${specs.join(' ')} ;;`;
  });
  return `#compdef keyhole
# zsh completion for keyhole; made by \`keyhole completion zsh\`.
_keyhole_hosts() {
  local -a names
  names=(\${(f)"$(${listHosts})"})
  compadd -a names
}
_keyhole() {
  if (( CURRENT == 2 )); then
    local -a verbs
    verbs=(${verbs.map(({ name, about }) => `'${name}:${about}'`).join(' ')})
    _describe verb verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = _keyhole ]; then _keyhole "$@"; else compdef _keyhole keyhole; fi
`;
}

function fish(): string {
  const lines = verbs.flatMap(({ name, about, options, operand }) => {
    const seen = `-n '__fish_seen_subcommand_from ${name}'`;
    return [
      `complete -c keyhole -n __fish_use_subcommand -a ${name} -d '${about}'`,
      ...options.map((option) => `complete -c keyhole ${seen} -l ${option.replace('=', ' -x')}`),
      ...(operand === 'host' ? [`complete -c keyhole ${seen} -a '(__keyhole_hosts)'`] : []),
      ...(Array.isArray(operand) ? [`complete -c keyhole ${seen} -a '${operand.join(' ')}'`] : []),
    ];
  });
  return `# fish completion for keyhole; made by \`keyhole completion fish\`.
function __keyhole_hosts
  set -l state ~/.local/state
  set -q XDG_STATE_HOME; and set state $XDG_STATE_HOME
  begin
    sed -n 's/^Host //p' ~/.ssh/keyhole/hosts
    cat $state/keyhole/hosts
  end 2>/dev/null | ${namesOnly}
end
complete -c keyhole -f
complete -c keyhole -l help
complete -c keyhole -n __fish_use_subcommand -l version
${lines.join('\n')}
`;
}
