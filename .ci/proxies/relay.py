"""Forwards connections with a delay, as a network does. Usage: relay.py PORT TARGET SECONDS

On one machine a proxy learns at once that the server has closed a connection, so no request is ever lost.
"""

import asyncio
import sys


async def forward(reader, writer, delay):
    """Forwards the bytes of one direction, and its end."""
    loop = asyncio.get_running_loop()
    queue = asyncio.Queue()

    async def write():
        while True:
            at, data = await queue.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            if not data:
                writer.close()
                return
            try:
                writer.write(data)
                await writer.drain()
            except ConnectionError:
                return

    writing = asyncio.create_task(write())
    while True:
        try:
            data = await reader.read(65536)
        except ConnectionError:
            data = b""
        await queue.put((loop.time() + delay, data))
        if not data:
            return await writing


async def main(port, target, delay):
    host, target_port = target.rsplit(":", 1)

    async def connect(reader, writer):
        server_reader, server_writer = await asyncio.open_connection(host, int(target_port))
        await asyncio.gather(forward(reader, server_writer, delay), forward(server_reader, writer, delay))

    server = await asyncio.start_server(connect, "127.0.0.1", int(port), backlog=1000)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
