import { HrsamError } from '../errors.js';
import { type Graph, type Node, root, type Value } from './graph.js';

/** Nodes that values depend on; those that follow from constants alone are left out: every program has its own. */
function ancestors(graph: Graph, values: readonly Value[]): Set<Node> {
  const wanted = new Set(values.map((value) => root(value).value));
  const found = new Set<Node>();
  for (const node of [...graph.nodes].reverse()) {
    if (!wanted.has(node.result)) continue;
    found.add(node);
    for (const operand of Object.values(node.operands)) wanted.add(root(operand).value);
  }
  const variable = new Set<Value>();
  for (const node of graph.nodes) {
    if (!found.has(node)) continue;
    const varies = Object.values(node.operands).some((operand) => {
      const { value } = root(operand);
      return value.source.kind === 'input' || variable.has(value);
    });
    if (varies) variable.add(node.result);
    else found.delete(node);
  }
  return found;
}

/**
 * What a program for `later` needs of the nodes that compute `first`: run apart, one after the other, these values are
 * the first program's outputs and the second one's inputs.
 */
export function crossing(graph: Graph, first: readonly Value[], later: readonly Value[]): Value[] {
  const before = ancestors(graph, first);
  const made = new Set([...before].map(({ result }) => result));
  const needed = new Set<Value>();
  const note = (value: Value) => {
    const owner = root(value).value;
    if (made.has(owner)) needed.add(owner);
  };
  for (const value of later) note(value);
  for (const node of ancestors(graph, later)) {
    if (!before.has(node)) for (const operand of Object.values(node.operands)) note(operand);
  }
  return graph.values.filter((value) => needed.has(value));
}

/** From now on the value of a node comes from outside, as an input of this name. */
export function supply(graph: Graph, value: Value, name: string): void {
  if (graph.inputs.has(name)) throw new HrsamError('ERR_INTERNAL', `input '${name}' is there already`);
  (value as { source: Value['source'] }).source = { kind: 'input', name };
  graph.inputs.set(name, value);
}
