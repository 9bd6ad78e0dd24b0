/**
 * How V8 is to use memory in the orchestrator, whose heap is small and churns: by its own measure, the machine's memory,
 * it would let garbage of twice the size gather before it collects. The same stands in package.json, the Dockerfile and
 * docker-compose.yml. Workers run what users write and are left alone.
 */
export const HEAP_FLAGS = ['--max-semi-space-size=8', '--max-old-space-size=1024'];
