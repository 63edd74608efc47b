import type { FastifyReply, FastifyRequest } from 'fastify';
import { HrsamError } from '../errors.js';

export type Handler = (request: FastifyRequest, reply: FastifyReply, signal: AbortSignal) => Promise<unknown>;

interface Place {
  readonly signal: AbortSignal;
  /** Whether its body has come and its handler runs. */
  begun: boolean;
  leave(): void;
}

/** Lets so many requests, and so many bytes of their bodies, in at a time: those that send, compute or wait for it. */
export class Gate {
  #working = 0;
  #bytes = 0;
  readonly #places = new WeakMap<FastifyRequest, Place>();

  constructor(
    readonly most: number,
    readonly mostBytes: number,
  ) {}

  get working(): number {
    return this.#working;
  }

  /** A route that computes: within the limits from before its body is read, and cancelled when the client goes. */
  computing(handle: Handler) {
    return {
      onRequest: async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
        this.#places.set(request, this.#enter(request, reply));
      },
      // Of one that ended before its handler began: its body was too large, or none.
      onResponse: async (request: FastifyRequest): Promise<void> => {
        this.#places.get(request)?.leave();
      },
      handler: async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
        const place = this.#places.get(request)!;
        place.begun = true;
        try {
          return await handle(request, reply, place.signal);
        } finally {
          place.leave();
        }
      },
    };
  }

  #enter({ headers, routeOptions }: FastifyRequest, reply: FastifyReply): Place {
    const limit = routeOptions.bodyLimit;
    // A body that is longer than its route takes is refused before it is read.
    const bytes = Math.min(limit, Number(headers['content-length'] ?? limit));
    if (this.#working >= this.most)
      throw new HrsamError('ERR_BUSY', 'too many requests under way', { expected: `at most ${this.most}` });
    if (this.#bytes + bytes > this.mostBytes)
      throw new HrsamError('ERR_BUSY', 'too many pictures under way', {
        expected: `at most ${this.mostBytes} bytes`,
      });
    this.#working++;
    this.#bytes += bytes;
    const controller = new AbortController();
    let inside = true;
    const place = {
      signal: controller.signal,
      begun: false,
      leave: () => {
        if (!inside) return;
        inside = false;
        this.#working--;
        this.#bytes -= bytes;
      },
    };
    reply.raw.once('close', () => {
      if (!reply.raw.writableFinished) controller.abort();
      if (!place.begun) place.leave();
    });
    return place;
  }
}
