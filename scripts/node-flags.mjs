/**
 * How Node is to run the orchestrator. The same stands in package.json, the Dockerfile and docker-compose.yml. Workers run
 * what users write and get no limits, and there may be many of them on a machine, which share Node's code without the last one.
 * - the heap: about 250 MB however many flows wait; by the machine's memory alone, V8 would let more garbage gather
 * - Node's own code in huge pages where the machine gives some: two thirds of the time are spent in it, all over it
 */
export const NODE_FLAGS = [
  '--max-semi-space-size=16',
  '--max-old-space-size=1024',
  '--use-largepages=silent',
];
