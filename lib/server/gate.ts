import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HrsamError } from '../errors.js';

export type Handler = (request: FastifyRequest, reply: FastifyReply, signal: AbortSignal) => Promise<unknown>;

interface Place {
  readonly signal: AbortSignal;
  /** Whether its body has come and its handler has begun, and whether that has ended. */
  begun: boolean;
  ended: boolean;
  leave(): void;
  /** The client is. */
  gone(): void;
}

/** A client that takes nothing of its answer for so long is let go, ms. */
const PATIENCE = 60_000;

/**
 * Lets so many requests, and so many bytes of their bodies, in at a time: those that send, compute or wait for it, or
 * whose answer has not been taken yet.
 */
export class Gate {
  #working = 0;
  #bytes = 0;
  readonly #places = new WeakMap<FastifyRequest, Place>();
  /** Handlers that have begun, until what they answer is sent. */
  readonly #answers = new Map<ServerResponse, Promise<unknown>>();

  constructor(
    readonly most: number,
    readonly mostBytes: number,
    readonly patience = PATIENCE,
  ) {}

  get working(): number {
    return this.#working;
  }

  /** A route that computes: within the limits from before its body is read, and cancelled when the client goes. */
  computing(handle: Handler) {
    return {
      onRequest: async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
        const place = this.#enter(request, reply);
        this.#places.set(request, place);
        // A response that waits behind others of its connection has no socket, and so no events, of its own.
        const { socket } = request.raw;
        socket.setMaxListeners(0);
        socket.once('close', place.gone);
        // One that waited behind another's answer has not the patience of that.
        reply.raw.once('socket', (own) => own.setTimeout(0));
      },
      // Of one that ended before its handler began, too: its body was too large, or none.
      onResponse: async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
        const place = this.#places.get(request);
        if (!place) return;
        request.raw.socket.off('close', place.gone);
        place.leave();
        this.#answers.delete(reply.raw);
      },
      handler: (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
        const place = this.#places.get(request)!;
        place.begun = true;
        const answer = handle(request, reply, place.signal).finally(() => {
          place.ended = true;
          if (place.signal.aborted) place.leave();
          else reply.raw.setTimeout(this.patience, () => request.raw.socket.destroy());
        });
        // When it ends, not what it is: that would be kept until it is sent.
        const ended = answer.then(
          () => {},
          () => {},
        );
        if (!place.signal.aborted) this.#answers.set(reply.raw, ended);
        return answer;
      },
    };
  }

  /** Waits for the handlers that have begun, and so long, ms, for the clients to take the answers. */
  async drained(patience: number): Promise<void> {
    await Promise.allSettled(this.#answers.values());
    const sent = [...this.#answers.keys()].map((response) => once(response, 'close'));
    await Promise.race([Promise.allSettled(sent), setTimeout(patience, undefined, { ref: false })]);
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
      ended: false,
      leave: () => {
        if (!inside) return;
        inside = false;
        this.#working--;
        this.#bytes -= bytes;
      },
      gone: () => {
        controller.abort();
        if (!place.begun || place.ended) place.leave();
        this.#answers.delete(reply.raw);
      },
    };
    return place;
  }
}
