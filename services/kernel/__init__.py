"""What every service needs and would be wrong if it differed; knows no domain word.

The four mechanisms that everything durable rests on:

K1. `batcher`: concurrent writes share one transaction; each item is judged alone.
K2. `requests`: one outcome per request id, for ever; other content under the same id is refused by field.
K3. `feed`: what a service did, gapless and in commit order, followed from any position exactly once.
K4. `due`: what must happen later is a row; an arq job only says "drain what is due".

A module comes in here when two services need it and would be wrong if they did it differently.
"""

VERSION = "0.1.0"
