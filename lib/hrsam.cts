#!/usr/bin/env node
// The `hrsam` command. CommonJS: when the first line of an ES module runs, Node has started its pool's threads already, four
// unless told otherwise, and pictures are decoded and clicks simulated there.
import os = require('node:os');

process.env.UV_THREADPOOL_SIZE ??= String(Math.max(4, os.availableParallelism()));
import('./cli.js');
