import type { FastifyReply, FastifyRequest } from 'fastify';
import { HrsamError } from '../errors.js';

export type Handler = (request: FastifyRequest, reply: FastifyReply, signal: AbortSignal) => Promise<unknown>;

/** Lets so many requests at a time compute or wait for it. */
export class Gate {
  #working = 0;

  constructor(readonly most: number) {}

  get working(): number {
    return this.#working;
  }

  /** A handler that computes: within the limit of requests, and cancelled when the client goes. */
  computing(handle: Handler) {
    return async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
      if (this.#working >= this.most) {
        throw new HrsamError('ERR_BUSY', 'too many requests under way', { expected: `at most ${this.most}` });
      }
      this.#working++;
      const controller = new AbortController();
      const gone = () => {
        if (!reply.raw.writableFinished) controller.abort();
      };
      reply.raw.once('close', gone);
      try {
        return await handle(request, reply, controller.signal);
      } finally {
        reply.raw.off('close', gone);
        this.#working--;
      }
    };
  }
}
