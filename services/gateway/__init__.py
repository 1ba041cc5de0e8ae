"""The gateway: HTTP and JSON for what the contracts offer over gRPC. It holds no state and no business rule.

G1. Every rpc with a `google.api.http` option has its route, its documentation and its errors from the contract alone.
G2. Every answer that is not a success is problem details with a reason and a correlation id; nothing is a bare 500.
G3. A field that cannot be read is refused by its name; an item of a batch that cannot be read refuses no other item.
G4. A credential of one program never becomes another's, and a service's own credential is not taken over HTTP.
G5. Redis, or any service but the program service, can be away without the gateway being away.
G6. What is acknowledged was acknowledged by the service; the gateway never answers in its place and drains before it
    ends.
"""
