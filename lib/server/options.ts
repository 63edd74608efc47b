export interface ServerOptions {
  /** Bytes of encoded pictures that are kept. */
  memory?: number;
  /** Bytes of a picture's file. */
  pictureBytes?: number;
  /** The largest `size` that a picture may be encoded at. */
  maxSize?: number;
  /** Requests that compute or wait for it; further ones are turned away with 503. */
  requests?: number;
}

/** Where nothing else is asked for. */
export const SERVER_DEFAULTS: Required<ServerOptions> = {
  memory: 1e9,
  pictureBytes: 64e6,
  maxSize: 4096,
  requests: 64,
};
