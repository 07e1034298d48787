"""What is done with instances: one-way orders, carried out by the cell that has the instance.

An order is on its way when its method returns. Its result is seen in the record of
the instance at the top; one that cannot be carried out leaves a fault and a failed
action there.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cells.client import base
from cells.objects import plain


class InstanceActions(base.Client):
    """Orders for one instance each. ``instance`` is an Instance."""

    # -- power --

    def start_instance(self, ctxt: Any, instance: Any) -> None:
        """Start an instance that is stopped."""
        self._cast(ctxt, '1.12', 'start_instance', instance=instance)

    def stop_instance(
        self, ctxt: Any, instance: Any, do_cast: bool = True, clean_shutdown: bool = True
    ) -> Any:
        """Stop an instance.

        :param do_cast: whether to return at once; else when the instance is stopped.
        :param clean_shutdown: whether the guest is asked to shut down; cells before 1.31 do.
        """
        send = self._cast if do_cast else self._call
        wanted = {'instance': instance, 'do_cast': do_cast}
        if not self._can_send('1.31'):
            return send(ctxt, '1.12', 'stop_instance', **wanted)
        return send(ctxt, '1.31', 'stop_instance', clean_shutdown=clean_shutdown, **wanted)

    def reboot_instance(
        self, ctxt: Any, instance: Any, block_device_info: Any, reboot_type: str
    ) -> None:
        """Reboot an instance.

        :param block_device_info: not used.
        :param reboot_type: ``SOFT`` or ``HARD``.
        """
        self._cast(ctxt, '1.14', 'reboot_instance', instance=instance, reboot_type=reboot_type)

    def suspend_instance(self, ctxt: Any, instance: Any) -> None:
        """Write an instance to disk and stop it."""
        self._cast(ctxt, '1.15', 'suspend_instance', instance=instance)

    def resume_instance(self, ctxt: Any, instance: Any) -> None:
        """Go on with an instance that is suspended."""
        self._cast(ctxt, '1.15', 'resume_instance', instance=instance)

    def pause_instance(self, ctxt: Any, instance: Any) -> None:
        """Stop an instance where it is, in memory."""
        self._cast(ctxt, '1.19', 'pause_instance', instance=instance)

    def unpause_instance(self, ctxt: Any, instance: Any) -> None:
        """Go on with an instance that is paused."""
        self._cast(ctxt, '1.19', 'unpause_instance', instance=instance)

    # -- the end --

    def terminate_instance(
        self,
        ctxt: Any,
        instance: Any,
        bdms: Any,
        reservations: Any = None,
        delete_type: str = 'delete',
    ) -> None:
        """Delete an instance.

        :param bdms: and ``reservations``: not used.
        :param delete_type: ``delete`` or ``force_delete``; cells before 1.36 only delete.
        """
        if self._can_send('1.36'):
            self._cast(
                ctxt, '1.36', 'terminate_instance', instance=instance, delete_type=delete_type
            )
        else:
            self._cast(ctxt, '1.18', 'terminate_instance', instance=instance)

    def soft_delete_instance(self, ctxt: Any, instance: Any, reservations: Any = None) -> None:
        """Delete an instance so that it can be restored for a while.

        :param reservations: not used.
        """
        self._cast(ctxt, '1.18', 'soft_delete_instance', instance=instance)

    # -- size and place --

    def resize_instance(
        self,
        ctxt: Any,
        instance: Any,
        extra_instance_updates: Mapping[str, Any],
        scheduler_hint: Any,
        flavor: Any,
        reservations: Any,
        clean_shutdown: bool = True,
    ) -> None:
        """Give an instance another size; it waits for confirmation then.

        :param extra_instance_updates: arguments of the cell's own ``resize``.
        :param scheduler_hint: and ``reservations``: not used.
        :param flavor: a Flavor.
        :param clean_shutdown: whether the guest is asked to shut down; cells before 1.33 do.
        """
        wanted = {
            'instance': instance,
            'flavor': plain.flatten(flavor),
            'extra_instance_updates': extra_instance_updates,
        }
        if self._can_send('1.33'):
            self._cast(ctxt, '1.33', 'resize_instance', clean_shutdown=clean_shutdown, **wanted)
        else:
            self._cast(ctxt, '1.20', 'resize_instance', **wanted)

    def confirm_resize(
        self,
        ctxt: Any,
        instance: Any,
        migration: Any,
        host: Any,
        reservations: Any,
        cast: bool = True,
    ) -> None:
        """Keep the new size of an instance. Returns at once in any case.

        :param migration: like all behind it: not used.
        """
        self._cast(ctxt, '1.21', 'confirm_resize', instance=instance)

    def revert_resize(
        self, ctxt: Any, instance: Any, migration: Any, host: Any, reservations: Any
    ) -> None:
        """Give an instance its former size again.

        :param migration: like all behind it: not used.
        """
        self._cast(ctxt, '1.21', 'revert_resize', instance=instance)

    def live_migrate_instance(
        self,
        ctxt: Any,
        instance: Any,
        host_name: str | None,
        block_migration: bool,
        disk_over_commit: bool,
        request_spec: Any = None,
    ) -> None:
        """Move an instance to another host of its cell while it runs.

        :param host_name: of the host, None for any.
        :param request_spec: not used.
        """
        self._cast(
            ctxt,
            '1.20',
            'live_migrate_instance',
            instance=instance,
            block_migration=block_migration,
            disk_over_commit=disk_over_commit,
            host_name=host_name,
        )

    # -- disks --

    def snapshot_instance(self, ctxt: Any, instance: Any, image_id: str) -> None:
        """Copy the disk of an instance into an image that is there already."""
        self._cast(ctxt, '1.24', 'snapshot_instance', instance=instance, image_id=image_id)

    def backup_instance(
        self, ctxt: Any, instance: Any, image_id: str, backup_type: str, rotation: int
    ) -> None:
        """Copy the disk of an instance, and delete copies that are too old.

        :param backup_type: such as ``daily``; each is counted by itself.
        :param rotation: how many copies of the type are kept.
        """
        self._cast(
            ctxt,
            '1.24',
            'backup_instance',
            instance=instance,
            image_id=image_id,
            backup_type=backup_type,
            rotation=rotation,
        )

    def rebuild_instance(
        self,
        ctxt: Any,
        instance: Any,
        new_pass: str | None,
        injected_files: Sequence[Any] | None,
        image_ref: str,
        orig_image_ref: Any,
        orig_sys_metadata: Any,
        bdms: Any,
        recreate: bool = False,
        on_shared_storage: bool = False,
        host: str | None = None,
        preserve_ephemeral: bool = False,
        request_spec: Any = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the disk of an instance anew from an image.

        :param injected_files: pairs of path and content in base64.
        :param kwargs: what of the instance changes with it.
        :param orig_image_ref: like what is not named here: not used.
        """
        self._cast(
            ctxt,
            '1.25',
            'rebuild_instance',
            instance=instance,
            image_href=image_ref,
            admin_password=new_pass,
            files_to_inject=injected_files,
            preserve_ephemeral=preserve_ephemeral,
            kwargs=kwargs,
        )

    # -- inside --

    def reset_network(self, ctxt: Any, instance: Any) -> None:
        """Have the guest configure its network anew."""
        self._cast(ctxt, '1.22', 'reset_network', instance=instance)

    def inject_network_info(self, ctxt: Any, instance: Any) -> None:
        """Give the guest the description of its network again."""
        self._cast(ctxt, '1.23', 'inject_network_info', instance=instance)

    def set_admin_password(self, ctxt: Any, instance: Any, new_pass: str | None) -> None:
        """Set the password of the guest's administrator, None for one that is made up."""
        self._cast(ctxt, '1.29', 'set_admin_password', instance=instance, new_pass=new_pass)
