/**
 * How V8 is to use memory in the orchestrator, so that it holds about 250 MB however many flows wait: by the machine's
 * memory alone, it would let more garbage gather before it collects. The same stands in package.json, the Dockerfile and
 * docker-compose.yml. Workers run what users write and get no limits.
 */
export const HEAP_FLAGS = ['--max-semi-space-size=16', '--max-old-space-size=1024'];
