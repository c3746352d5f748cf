"""LeaderWorkerSets: groups of a leader pod and its workers, created, replaced and rolled out together.

As upstream's controller (kubernetes-sigs/lws) does it: the leaders are the pods of one StatefulSet, the workers of each
those of another that belongs to the leader's pod. Only the embedded platform runs this one.
"""
