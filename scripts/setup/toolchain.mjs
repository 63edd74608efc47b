import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const MIN_CMAKE = [3, 20];

/** What a C++20 compiler and its library must have. */
const PROBE = '#include <bit>\n#include <span>\nstatic_assert(std::has_single_bit(8u));\n';

const run = (command, args, input) => spawnSync(command, args, { encoding: 'utf8', input });

const compiles = (compiler) =>
  run(compiler, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], PROBE).status === 0;

function hasCmake() {
  const { status, stdout } = run('cmake', ['--version']);
  const version = /(\d+)\.(\d+)/.exec(stdout ?? '');
  if (status !== 0 || !version) return false;
  const [major, minor] = [Number(version[1]), Number(version[2])];
  return major > MIN_CMAKE[0] || (major === MIN_CMAKE[0] && minor >= MIN_CMAKE[1]);
}

const answers = (command) => run(command, ['--version']).status === 0;

/** What the native build needs and this machine lacks. */
export function missingTools() {
  const compilers = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++'];
  return [
    !compilers.some(compiles) && 'compiler',
    !hasCmake() && 'cmake',
    !['ninja', 'make'].some(answers) && 'make',
  ].filter(Boolean);
}

const NAMES = {
  compiler: 'a C++20 compiler (g++ 11 or newer)',
  cmake: 'CMake 3.20 or newer',
  make: 'make or ninja',
};

const DEBIAN = { compiler: 'g++', cmake: 'cmake', make: 'make' };

const isDebian = () => existsSync('/etc/debian_version');

/** Steps (name, command, arguments) that install what is missing, where this script may: on Debian and Ubuntu as root. */
export function installToolchain(missing) {
  if (!isDebian() || process.getuid?.() !== 0) return undefined;
  const packages = missing.map((tool) => DEBIAN[tool]);
  return [
    ['package lists', 'apt-get', ['update', '-q']],
    [packages.join(', '), 'apt-get', ['install', '-y', '-q', '--no-install-recommends', ...packages]],
  ];
}

/** What is missing and the command that installs it here. */
export function toolchainAdvice(missing) {
  const list = missing.map((tool) => NAMES[tool]).join(', ');
  const commands = [
    [
      isDebian,
      `sudo apt-get update && sudo apt-get install -y ${missing.map((tool) => DEBIAN[tool]).join(' ')}`,
    ],
    [() => answers('dnf'), 'sudo dnf install -y gcc-c++ cmake make'],
    [() => answers('apk'), 'sudo apk add g++ cmake make'],
    [() => process.platform === 'darwin', 'xcode-select --install; brew install cmake'],
  ];
  const known = commands.find(([here]) => here());
  return `the native addon cannot be built: missing ${list}.\n${known ? `  ${known[1]}` : 'Install them'}, then run this again.`;
}
