"""Verdicts become writes here: claims, bindings, evictions, and what people are told about them.

**The order of writes for a gang** (a single pod is a gang of one)

1. *Claims.* Every claim of every member gets the finalizer, then, in one write, its allocation and all members that use
   it as consumers. Nothing is bound before the last of them is written.
2. *Waiting.* Our own allocations have come back through the watch and no older one holds the same devices
   (`contention.py`); devices with binding conditions are ready; volumes that wait for a consumer have been made.
3. *Bindings*, all at once.

What a crash leaves behind is either all claims and no binding, some claims and no binding, or all claims and some
bindings. After a restart the claims are facts like any others: pods whose claims have devices only fit where those are,
so that the gang is decided as it was before and the rest of its writes is made up for. Where it does not fit any more
it is refused, and what unbound pods of a refused gang have reserved is given back (`leftovers.py`).

**What fails.** Answers that say nothing about the object (5xx, 429, no answer) are asked again with growing delays;
each write says which version it is about, so that one that did arrive the first time is recognised and not repeated.
What fails for good (the pod or claim is deleted, the claim got other devices) fails the gang in steps 1 and 2: all that
was reserved is taken back, then the planner is told. In step 3 it depends on the minimum: where the members that are
bound reach it without those that failed, only the failed ones are taken back. Otherwise no further member is bound,
unbound ones are taken back, and those that this commit has bound are evicted: half a gang holds devices and does no
work.

**Two schedulers.** An object's version protects a claim, but no version protects a device. Whoever writes an allocation
looks, once the watch has shown it its own write, whether a claim that was allocated before holds the same device, and
gives its own back if so. Of two schedulers that both do this, exactly the later one gives way, before any of its pods
is bound. Beside a scheduler that does not look (kube-scheduler), this one gives way to all that was written before its
own; what the other one writes afterwards over it only the device's driver can refuse.
"""
