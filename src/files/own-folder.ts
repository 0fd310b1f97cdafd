import { chmod, lstat, realpath, stat } from "node:fs/promises";
import { join, parse, relative, resolve, sep } from "node:path";
import { InputError, messageOf } from "../errors.ts";
import { makeFolders } from "./make-folders.ts";

/** A folder that can't be made, or that is somebody else's. */
export class FolderError extends InputError {}

/** Permissions of everybody, and of a file's group, to write. */
const everybody = 0o002;
const group = 0o020;

/**
 * Makes a folder, unless it is there, that no other user can write to. In a
 * place where everybody may make entries, as in /tmp, another user may have
 * made it first, to exchange what is kept in it or to lead it elsewhere by a
 * link. Other places are as safe as who chose them made them: they are not
 * checked. Windows has a temporary folder for each user.
 *
 * @param setting names the folder in errors
 * @param mode of a new one
 * @throws FolderError
 */
export async function makeOwnFolder(folder: string, setting: string, mode = 0o700): Promise<void> {
  try {
    await makeFolders(folder, mode);
  } catch (error) {
    throw new FolderError(
      `${setting}: the folder ${folder} can't be made: ${messageOf(error)}. Name one that can be written.`,
      { cause: error },
    );
  }
  const user = process.getuid?.();
  if (user !== undefined) await requireOwn(resolve(folder), setting, user);
}

async function requireOwn(folder: string, setting: string, user: number): Promise<void> {
  const { root } = parse(folder);
  const refuse = (path: string, why: string): never => {
    throw new FolderError(
      `${setting}: ${path} ${why}, and everybody may make entries where it lies. Remove it or give it to this user alone (chown, chmod 700), or set ${setting} to another folder.`,
    );
  };
  let place = root;
  for (const name of relative(root, folder).split(sep)) {
    const { mode } = await stat(place);
    const path = join(place, name);
    const found = await lstat(path);
    if ((mode & everybody) !== 0) {
      if (found.isSymbolicLink()) refuse(path, "is a link");
      // What is root's is as safe as the machine.
      if (found.uid !== user && found.uid !== 0) refuse(path, "belongs to another user");
      if (path === folder && (found.mode & everybody) !== 0)
        refuse(path, "can be written by everybody");
      // As an earlier start made it where new files are their group's too.
      if (path === folder && found.uid === user && (found.mode & group) !== 0)
        await chmod(path, found.mode & 0o7777 & ~group);
    }
    place = await realpath(path);
  }
}
