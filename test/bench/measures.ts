// All measures, in the order in which they run.
import type { Measure } from './measure.ts';
import { breakdown } from './measures/breakdown.ts';
import { connect } from './measures/connect.ts';
import { delayed } from './measures/delayed.ts';
import { echo } from './measures/echo.ts';
import { helperCpu } from './measures/helper-cpu.ts';
import { idle } from './measures/idle.ts';
import { keystroke } from './measures/keystroke.ts';
import { leaks } from './measures/leaks.ts';
import { parallel } from './measures/parallel.ts';
import { transfer } from './measures/transfer.ts';

export const measures: readonly Measure[] = [
  connect,
  breakdown,
  helperCpu,
  echo,
  transfer,
  parallel,
  idle,
  delayed,
  keystroke,
  leaks,
];
