"""The notify service follows every feed and sends members what is due: by mail, into their inbox, to endpoints.

What it promises:

N1. Each cause is decided once for each trigger, member and channel, and the decision is kept with its reason
    (`decisions_key`, privilege).
N2. Causes, decisions, deliveries, the duty to send and the follower's cursor are one transaction: all or none.
N3. Nothing is sent twice, whoever dies, but for an attempt whose outcome nobody knows: that is kept as UNKNOWN before
    another one is made under the same Message-ID, or none, as the trigger says (`attempts_key`, leases, fences).
N4. Nothing goes to an address that is suppressed; nothing that is not needed goes to a member who does not want it, in
    quiet hours, or past a cap; each time the reason is stored. This is looked at again right before it is sent.
N5. What a day sets off is set off on the member's local day, once, whatever the clocks do (derived ids, `zone_days`).
N6. A version of a trigger or template never changes (privilege); a template is shown in every language before it is
    taken.
N7. A link in a mail changes something by POST only, and names nobody.
N8. What is older than two days is history: it is counted, and sets nothing off.
N9. Everything belongs to one program, and every query says which.
"""
