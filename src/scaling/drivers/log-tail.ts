import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';

const CHUNK_BYTES = 65_536;
const MEBIBYTE = 1_048_576;
/** A longer line is passed on in pieces. */
const LINE_LIMIT_BYTES = 4 * CHUNK_BYTES;
const NEWLINE = 0x0a;
const OFFSET_DIGITS = 16;

export interface LogTailOptions {
  /** Written by others with O_APPEND: the next write after a truncation goes to the new end. */
  file: string;
  /** Keeps how much has been passed on, for whoever goes on from here. */
  offsetFile: string;
  onLine: (line: string) => void;
  /** Most that is read in one turn. Default 1 MiB. */
  turnBytes?: number;
  /** The file is emptied when it is longer, and all of it has been passed on. Default 4 MiB. */
  truncateAboveBytes?: number;
  /** More than this that has not been passed on is left out. Default 32 MiB. */
  behindLimitBytes?: number;
}

/**
 * Passes on, line by line, what is appended to a file, and keeps the file short. Each line once, also when another
 * process goes on where this one was killed (then the lines of one turn may come twice). What is written in the
 * microseconds between the last look at its length and the truncation is lost; nothing else is.
 */
export class LogTail {
  private readonly turnBytes: number;
  private readonly truncateAboveBytes: number;
  private readonly behindLimitBytes: number;
  private fd: number | null = null;
  private offsetFd: number | null = null;
  /** Where reading goes on. */
  private position = 0;
  /** Read, and not passed on: the beginning of a line. */
  private rest: Buffer = Buffer.alloc(0);

  constructor(private readonly options: LogTailOptions) {
    this.turnBytes = options.turnBytes ?? MEBIBYTE;
    this.truncateAboveBytes = options.truncateAboveBytes ?? 4 * MEBIBYTE;
    this.behindLimitBytes = options.behindLimitBytes ?? 32 * MEBIBYTE;
  }

  /**
   * Nothing will be passed on if there is no such file: somebody has removed it.
   * @throws Error if it cannot be read
   */
  open(): void {
    if (!existsSync(this.options.file)) return;
    this.fd = openSync(this.options.file, 'r+');
    this.offsetFd = openSync(this.options.offsetFile, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.position = Number(readFileSync(this.options.offsetFile, 'utf8')) || 0;
  }

  /** Passes on what has come since the last turn. */
  turn(): void {
    if (this.fd === null) return;
    const before = this.position - this.rest.length;
    const end = Math.min(this.reachableEnd(this.fd), this.position + this.turnBytes);
    this.readUpTo(this.fd, end);
    this.truncateIfLong(this.fd);
    const passedOn = this.position - this.rest.length;
    if (passedOn !== before) this.save(passedOn);
  }

  /** Passes on all there is, an unfinished last line too, and closes. Nobody writes any more. */
  finish(): void {
    if (this.fd === null) return;
    this.readUpTo(this.fd, this.reachableEnd(this.fd));
    if (this.rest.length > 0) this.options.onLine(this.rest.toString());
    this.close();
  }

  /** Leaves the rest to whoever opens it next. */
  close(): void {
    for (const fd of [this.fd, this.offsetFd]) if (fd !== null) closeSync(fd);
    this.fd = null;
    this.offsetFd = null;
  }

  /** The length of the file, after it was made sure that the position is in it and not too far behind. */
  private reachableEnd(fd: number): number {
    const { size } = fstatSync(fd);
    if (size < this.position) this.jumpTo(0);
    const behind = size - this.position;
    if (behind > this.behindLimitBytes) {
      this.options.onLine(`(${behind} bytes of its output are left out: more than can be passed on)`);
      this.jumpTo(size);
    }
    return size;
  }

  private jumpTo(position: number): void {
    this.position = position;
    this.rest = Buffer.alloc(0);
  }

  private readUpTo(fd: number, end: number): void {
    while (this.position < end) {
      const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, end - this.position));
      const count = readSync(fd, chunk, 0, chunk.length, this.position);
      if (count === 0) return;
      this.position += count;
      this.passOn(Buffer.concat([this.rest, chunk.subarray(0, count)]));
    }
  }

  private passOn(bytes: Buffer): void {
    const afterLines = bytes.lastIndexOf(NEWLINE) + 1;
    const isTooLong = bytes.length - afterLines > LINE_LIMIT_BYTES;
    const whole = isTooLong ? bytes.length : afterLines;
    this.rest = bytes.subarray(whole);
    const lines = bytes.toString('utf8', 0, whole).split('\n');
    for (const line of lines) if (line !== '') this.options.onLine(line);
  }

  /** A file of which all has been passed on, to the last byte that is in it at this moment. */
  private truncateIfLong(fd: number): void {
    const isDone = this.rest.length === 0 && this.position > this.truncateAboveBytes;
    if (!isDone || fstatSync(fd).size !== this.position) return;
    ftruncateSync(fd);
    this.jumpTo(0);
  }

  private save(offset: number): void {
    writeSync(this.offsetFd!, String(offset).padStart(OFFSET_DIGITS, '0'), 0);
  }
}
